package runtime

import (
	"context"
	"time"
)

// repeatEveryMax bounds the pause between two attempts; it grows from enlistEvery.
const repeatEveryMax = 10 * time.Second

// repeat attempts something until that is done, or until ctx ends, and says which. Its pauses grow: what is
// refused for good costs next to nothing.
func repeat(ctx context.Context, attempt func() (done bool)) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := enlistEvery; ; pause = min(2*pause, repeatEveryMax) {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		if attempt() {
			return true
		}
		timer.Reset(pause)
	}
}
