package runtime

import (
	"sync"

	"golang.org/x/sync/errgroup"

	"parley/actors/query"
	"parley/actors/system"
	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// queries serves reads: a ReadIndex each, shared by all that wait for the shard, then a worker
// that reads. The host's goroutine, which tells that the state is fresh, never reads itself.
type queries struct {
	host   *shard.Host
	shards uint32
	group  errgroup.Group

	mu     sync.Mutex // guards what follows
	more   *sync.Cond
	ready  []read // bounded by the admission of requests
	closed bool
}

// read is a query whose shard is fresh enough.
type read struct {
	req     *nodev1.GrainRequest
	epoch   shard.Epoch
	respond func(*nodev1.GrainReply)
}

func openQueries(h *shard.Host, shards uint32, workers int) *queries {
	q := &queries{host: h, shards: shards}
	q.more = sync.NewCond(&q.mu)
	for range workers {
		q.group.Go(func() error { q.work(); return nil })
	}
	return q
}

// serve is a system.Querier.
func (q *queries) serve(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	s, err := system.ShardOf(req, q.shards)
	if err != nil {
		respond(query.Serve(q.host.Reader(), q.shards, req)) // says what is wrong
		return
	}
	q.host.ReadIndex(s, func(epoch shard.Epoch, err error) {
		if err != nil {
			respond(&nodev1.GrainReply{NotLeader: true})
			return
		}
		q.enqueue(read{req, epoch, respond})
	})
}

func (q *queries) enqueue(r read) {
	if !q.put(r) {
		r.respond(&nodev1.GrainReply{NotLeader: true})
	}
}

// put gives false after the end.
func (q *queries) put(r read) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.ready = append(q.ready, r)
	q.more.Signal()
	return true
}

func (q *queries) work() {
	for {
		r, ok := q.next()
		if !ok {
			return
		}
		reply := query.Serve(q.host.Reader(), q.shards, r.req)
		reply.Epoch = uint64(r.epoch)
		r.respond(reply)
	}
}

func (q *queries) next() (read, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.more.Wait()
	}
	if len(q.ready) == 0 {
		return read{}, false
	}
	r := q.ready[0]
	q.ready[0] = read{}
	q.ready = q.ready[1:]
	return r, true
}

// close answers what waits and ends the workers.
func (q *queries) close() error {
	q.mu.Lock()
	q.closed = true
	q.more.Broadcast()
	q.mu.Unlock()
	return q.group.Wait()
}
