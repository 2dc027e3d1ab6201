(program (label . (ident) @name) @function (#not-match? @name "^[.]?L?[0-9]"))
