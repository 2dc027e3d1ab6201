(rule (rule_head . (var) @name)) @function
