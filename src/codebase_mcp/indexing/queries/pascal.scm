(unit (moduleName) @name) @module
(declType name: (_) @name type: (declClass (kRecord))) @struct
(declType name: (_) @name type: (declClass)) @class
(declType name: (_) @name type: (declIntf)) @interface
(declType name: (_) @name) @type
(defProc header: (declProc name: (_) @name)) @function
(declProc name: (_) @name) @function.declaration
(unit (interface (declConsts (declConst name: (_) @name) @constant)))
