package driver

import "context"

// Step is one small change on the way from a picture to what is wanted. It may be repeated.
type Step struct {
	Kind string // its name in the metrics
	Do   func(context.Context) error
}

// Steps are what a round does that sees the picture, in order. Run does the same steps; a caller
// that owns the time, as a simulation does, carries them out itself.
func (d *Driver) Steps(p *Picture) []Step {
	jobs, _ := d.jobs(p)
	steps := make([]Step, len(jobs))
	for i, j := range jobs {
		steps[i] = Step{j.kind, j.run}
	}
	return steps
}
