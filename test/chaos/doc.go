// Package chaos runs real parley processes, each in a network namespace and on a disk of its own,
// hurts them in every way that the machine allows, and checks what real clients saw. The short run
// is part of every check (make chaos-short); the long one writes the tables of docs/reliability.md
// (make chaos). Both need root; what the machine does not allow is told by name and not run.
package chaos
