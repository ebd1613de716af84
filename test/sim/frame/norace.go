//go:build !race

package frame

// Racing says that the race detector watches. It makes every life ten times longer: few are enough then.
const Racing = false
