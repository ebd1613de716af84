package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatIsRefusedIsAskedSeldom: also for ever, and not after the end.
func TestWhatIsRefusedIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := 0
		if repeat(ctx, func() bool { refused++; return false }) || refused < 5 || refused > 12 {
			t.Errorf("refused %d times in a minute", refused)
		}
		began, tries := time.Now(), 0
		if !repeat(t.Context(), func() bool { tries++; return tries == 2 }) || time.Since(began) != enlistEvery {
			t.Errorf("done at attempt %d, after %v", tries, time.Since(began))
		}
	})
}
