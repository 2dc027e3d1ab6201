(fn name: (_) @name) @function
(lambda name: (_) @name) @function
(program (local . (binding (symbol) @name)) @variable)
(program (global . (binding (symbol) @name)) @variable)
