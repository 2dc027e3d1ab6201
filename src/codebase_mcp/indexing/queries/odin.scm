(struct_declaration . (identifier) @name) @struct
(union_declaration . (identifier) @name) @struct
(enum_declaration . (identifier) @name) @enum
(procedure_declaration . (identifier) @name) @function
(source_file (const_declaration . (identifier) @name) @constant)
