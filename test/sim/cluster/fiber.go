package cluster

import "iter"

// fiber lets code that waits for its answers run among events: it stands while it waits, and never
// runs beside anything else.
type fiber struct {
	next func() (func(resume func()), bool)
	stop func()
	over bool
}

// abandoned unwinds a fiber whose node has died.
type abandoned struct{}

// start begins f. f may call wait, which begins something and returns when that calls resume.
func start(f func(wait func(begin func(resume func())))) *fiber {
	next, stop := iter.Pull(func(yield func(func(func())) bool) {
		defer func() {
			if r := recover(); r != nil && r != (abandoned{}) {
				panic(r)
			}
		}()
		f(func(begin func(func())) {
			if !yield(begin) {
				panic(abandoned{})
			}
		})
	})
	return &fiber{next: next, stop: stop}
}

// step lets the fiber run until it waits or ends. then plans a step for later.
func (f *fiber) step(then func(func())) {
	begin, more := f.next()
	if !more {
		f.over = true
		return
	}
	resumed := false
	begin(func() {
		if !resumed {
			resumed = true
			then(func() { f.step(then) })
		}
	})
}
