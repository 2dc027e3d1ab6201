(class_definition (class_identifier) @name) @class
(defined_resource_type . [(identifier) (class_identifier)] @name) @class
(function_declaration . [(identifier) (class_identifier)] @name) @function
