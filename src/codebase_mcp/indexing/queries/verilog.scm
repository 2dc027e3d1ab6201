(module_declaration (module_header (simple_identifier) @name)) @module
(interface_declaration (_ (interface_identifier) @name)) @interface
(package_declaration (package_identifier) @name) @module
(class_declaration . (class_identifier) @name) @class
(function_body_declaration (function_identifier) @name) @function
(task_body_declaration (task_identifier) @name) @function
