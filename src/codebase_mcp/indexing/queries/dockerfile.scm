(from_instruction as: (image_alias) @name) @module
