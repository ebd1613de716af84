package shard

import (
	"sync"

	"parley/persistence/keys"
)

// placing are the shards of which a replica is being made or dropped here. Of each shard that happens to
// one at a time, and a drop may take as long as the disk is full: so nobody waits behind it who does not
// want to. Safe for concurrent use.
type placing struct {
	mu     sync.Mutex // guards shards
	shards map[keys.Shard]chan struct{}
}

// enter takes a shard. If somebody has it, busy is closed when that one leaves, and the shard is not taken.
func (p *placing) enter(s keys.Shard) (busy <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left, taken := p.shards[s]; taken {
		return left
	}
	if p.shards == nil {
		p.shards = map[keys.Shard]chan struct{}{}
	}
	p.shards[s] = make(chan struct{})
	return nil
}

// leave gives a shard back.
func (p *placing) leave(s keys.Shard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.shards[s])
	delete(p.shards, s)
}
