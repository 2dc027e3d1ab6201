(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(constructor_declaration name: (_) @name) @constructor
(method_declaration name: (_) @name) @method
(trigger_declaration name: (_) @name) @class
