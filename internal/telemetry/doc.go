// Package telemetry makes what a process tells its operator: the logger, the metrics registry
// and the build's version. It never carries a token, a body, a key or a secret.
package telemetry
