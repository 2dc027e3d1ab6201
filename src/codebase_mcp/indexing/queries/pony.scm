(actor_definition . (identifier) @name) @class
(class_definition . (identifier) @name) @class
(struct_definition . (identifier) @name) @struct
(primitive_definition . (identifier) @name) @class
(trait_definition . (identifier) @name) @trait
(interface_definition . (identifier) @name) @interface
(constructor . (identifier) @name) @constructor
(method (identifier) @name) @method
(behavior (identifier) @name) @method
