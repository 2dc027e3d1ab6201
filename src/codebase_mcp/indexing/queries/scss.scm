(mixin_statement name: (_) @name) @macro
(function_statement name: (_) @name) @function
