// Package config loads a program's configuration: one struct whose kong tags
// are the only place that a setting is described in. From it come the flags,
// the environment variables, the keys of the TOML file, the help and the rows
// of SHOW ALL.
//
// A value is taken from the first of these that has it:
//
//  1. the flag --data-dir,
//  2. the environment variable WALHAVEN_<PROGRAM>_DATA_DIR (for the program
//     walhaven itself: WALHAVEN_DATA_DIR), or what the tag env names,
//  3. for a setting tagged secret:"", the file that the same variable with
//     _FILE appended names, without its last line end,
//  4. the key data-dir of the TOML file given by --config,
//  5. the tag default.
//
// A key that no flag has is an error that names the nearest. Settings of all
// subcommands of a program share one namespace in file and environment.
//
// What does not belong here: the settings themselves (each program's package has
// its struct) and the cluster file of the operator's tool.
package config
