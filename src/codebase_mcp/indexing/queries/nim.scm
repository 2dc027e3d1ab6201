(type_declaration (type_symbol_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  [(object_declaration) (ref_type)]) @class
(type_declaration (type_symbol_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  (enum_declaration)) @enum
(type_declaration (type_symbol_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])) @type
([(proc_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  (func_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  (iterator_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  (converter_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])]) @function
(method_declaration name: [(identifier) @name (exported_symbol (identifier) @name)]) @method
([(template_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])
  (macro_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])]) @macro
(source_file (const_section (variable_declaration
  (symbol_declaration_list (symbol_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])) @constant)))
(source_file (_ (variable_declaration
  (symbol_declaration_list (symbol_declaration name: [(identifier) @name (exported_symbol (identifier) @name)])) @variable)))
