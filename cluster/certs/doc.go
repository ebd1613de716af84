// Package certs is how nodes know each other: an own certificate authority, one certificate per
// node, and TLS configurations that accept nothing else and pick up new files without a restart.
//
// A node's certificate names the node, in a URI (parley://node/NAME) and as a DNS name for tools
// that look there, and is good for both ends of a connection. Addresses are not in it: nodes
// move, names stay. Who connects proves to hold a certificate of the authority, and by it which
// node it is.
package certs
