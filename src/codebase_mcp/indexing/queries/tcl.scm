(procedure name: (_) @name) @function
(namespace (word_list . (simple_word) . (simple_word) @name (braced_word))) @namespace
