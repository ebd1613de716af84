package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// journal remembers which users and conversations are done: a file with one line for its head and one
// for each id. A line that was cut by a crash is dropped; what it stood for is sent again, which changes
// nothing.
type journal struct {
	before int // how many earlier runs had done

	mu   sync.Mutex // guards what follows
	file *os.File
	done map[string]bool
}

// journalHead says what a journal is about. Another application or export needs another journal; any
// node of the cluster does.
type journalHead struct {
	Version     int    `json:"version"`
	Application string `json:"application_id"`
	Digest      string `json:"export"`
}

const journalVersion = 1

// openJournal opens a journal, or begins it.
func openJournal(path string, head journalHead) (*journal, error) {
	head.Version = journalVersion
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{file: f, done: map[string]bool{}}
	if err := j.read(path, head); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) read(path string, head journalHead) error {
	first, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	foreign := fmt.Errorf("%s belongs to another import (another export or application): name another with --journal, or remove it", path)
	lines, whole := bufio.NewReader(j.file), int64(0)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && n == 0 && !strings.HasPrefix(string(first), line) {
			return foreign // nor what a crash has left of a first line
		}
		if errors.Is(err, io.EOF) {
			break // with an end that is no line
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		whole += int64(len(line))
		if n > 0 {
			j.done[line[:len(line)-1]] = true
			continue
		}
		var found journalHead
		if json.Unmarshal([]byte(line), &found) != nil || found != head {
			return foreign
		}
	}
	j.before = len(j.done)
	if err := j.file.Truncate(whole); err != nil {
		return fmt.Errorf("repair journal: %w", err)
	}
	if _, err := j.file.Seek(whole, io.SeekStart); err != nil {
		return fmt.Errorf("repair journal: %w", err)
	}
	if whole > 0 {
		return nil
	}
	return j.write(string(first))
}

func (j *journal) has(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[id]
}

// note remembers that id is done.
func (j *journal) note(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[id] = true
	return j.write(id)
}

func (j *journal) write(line string) error {
	if _, err := j.file.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
