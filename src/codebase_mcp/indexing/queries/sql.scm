(create_table (object_reference) @name) @struct
(create_view (object_reference) @name) @struct
(create_materialized_view (object_reference) @name) @struct
(create_function . (keyword_create) (object_reference) @name) @function
(create_trigger (keyword_trigger) . (object_reference) @name) @function
(create_type (object_reference) @name) @type
(create_schema (identifier) @name) @namespace
(create_index column: (identifier) @name) @variable
