(part text: (curly_group (_) @name)) @section
(chapter text: (curly_group (_) @name)) @section
(section text: (curly_group (_) @name)) @section
(subsection text: (curly_group (_) @name)) @section
(subsubsection text: (curly_group (_) @name)) @section
(new_command_definition declaration: (_ command: (_) @name)) @macro
(environment_definition name: (_) @name) @macro
