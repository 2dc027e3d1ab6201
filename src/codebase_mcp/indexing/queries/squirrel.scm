(class_declaration . (identifier) @name) @class
(function_declaration . (identifier) @name) @function
