(type_definition name: (_) @name) @type
