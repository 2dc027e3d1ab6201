(class name: (_) @name) @class
(multiclass . (identifier) @name) @class
(def . (value (identifier) @name)) @variable
