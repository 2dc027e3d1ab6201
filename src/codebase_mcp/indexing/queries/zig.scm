(Decl (VarDecl variable_type_function: (IDENTIFIER) @name
  (ErrorUnionExpr (SuffixExpr (ContainerDecl (ContainerDeclType "struct")))))) @struct
(Decl (VarDecl variable_type_function: (IDENTIFIER) @name
  (ErrorUnionExpr (SuffixExpr (ContainerDecl (ContainerDeclType "enum")))))) @enum
(Decl (VarDecl variable_type_function: (IDENTIFIER) @name
  (ErrorUnionExpr (SuffixExpr (ContainerDecl))))) @struct
(Decl (FnProto function: (IDENTIFIER) @name) (Block)) @function
(Decl (FnProto function: (IDENTIFIER) @name)) @function.declaration
(source_file (Decl (VarDecl variable_type_function: (IDENTIFIER) @name
    (ErrorUnionExpr (SuffixExpr (BUILTINIDENTIFIER) @_import))) @import)
  (#eq? @_import "@import"))
(source_file (Decl (VarDecl variable_type_function: (IDENTIFIER) @name)) @variable)
