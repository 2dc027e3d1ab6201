(entity_declaration name: (_) @name) @class
(architecture_body name: (_) @name entity: (_) @owner) @extension
(package_declaration name: (_) @name) @module
(package_body package: (_) @name) @module
(component_declaration name: (_) @name) @class.declaration
(function_declaration designator: (_) @name) @function.declaration
(function_body designator: (_) @name) @function
(procedure_body designator: (_) @name) @function
(full_type_declaration name: (_) @name) @type
