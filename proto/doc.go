// Package proto holds every word that Parley stores or says: rows (event/v1), what nodes say to
// each other (node/v1), the native realtime frames (client/v1), coded errors (code) and
// identifiers (id). It imports nothing of Parley's.
package proto
