package media_test

import (
	"testing"

	"parley/edge/media"
	"parley/edge/media/sample"
)

// TestOneUserTakesNotAllPlaces: uploads that do not go on take what their user may have, and nothing of the others'.
func TestOneUserTakesNotAllPlaces(t *testing.T) {
	w := newWorld(t, settings{limits: generous, options: func(o *media.Options) { o.UploadsMax, o.UploadsEach = 2, 1 }})
	started, done, end := w.hanging()
	defer end()
	<-started
	a := w.upload(w.admin(), sample.PNG(t, 4, 4))
	if a.refused(429, "http:error:too-many-requests"); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.upload(w.as("ann"), sample.PNG(t, 4, 4)).want(200)
	end()
	<-done
	for a.status == 429 { // the server has not noticed yet
		a = w.upload(w.admin(), sample.PNG(t, 4, 4))
	}
	a.want(200)
}
