(function_declaration name: (_) @name) @function
(ui_signal name: (_) @name) @method.declaration
(ui_property name: (_) @name) @variable
