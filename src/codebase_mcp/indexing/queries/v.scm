(struct_declaration name: (_) @name) @struct
(enum_declaration name: (_) @name) @enum
(interface_declaration name: (_) @name) @interface
(function_declaration
  receiver: (parameter_list (parameter_declaration type: (_) @owner)) name: (_) @name) @method
(function_declaration name: (_) @name) @function
(const_spec name: (_) @name) @constant
