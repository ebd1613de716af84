// Package deploy holds what operators run Parley with: a dashboard and alerts, a systemd unit, an image with a
// compose file, and a Helm chart. Its tests, `make deploy-check`, hold these files against the tools they are
// made for and against the binary; that they name only metrics which a node serves is tested in cmd/parley/node.
package deploy
