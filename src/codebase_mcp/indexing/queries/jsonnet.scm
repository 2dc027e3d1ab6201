(local_bind (bind function: (_) @name)) @function
(field function: (fieldname) @name) @function
