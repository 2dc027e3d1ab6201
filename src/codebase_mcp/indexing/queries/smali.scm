(class_directive (class_identifier) @name) @class
(method_definition (method_signature (method_identifier) @name)) @method
