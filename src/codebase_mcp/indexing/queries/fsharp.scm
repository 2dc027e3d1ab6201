(namespace name: (_) @name) @namespace
(module_defn (identifier) @name) @module
(named_module name: (_) @name) @module
(type_definition (record_type_defn (type_name type_name: (_) @name))) @struct
(type_definition (union_type_defn (type_name type_name: (_) @name))) @enum
(type_definition (anon_type_defn (type_name type_name: (_) @name))) @class
(type_definition (_ (type_name type_name: (_) @name))) @type
(member_defn (method_or_prop_defn name: (property_or_ident method: (_) @name))) @method
(function_or_value_defn (function_declaration_left . (_) @name)) @function
(declaration_expression (function_or_value_defn (value_declaration_left . (_) @name)) @variable)
