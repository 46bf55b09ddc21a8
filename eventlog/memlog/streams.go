package memlog

import (
	"context"
	"iter"
	"strings"

	"github.com/ensue-io/ensue/eventlog"
)

// Streams implements eventlog.StreamLister.
func (l *Log) Streams(ctx context.Context, category, after string, limit int) iter.Seq2[eventlog.StreamInfo, error] {
	return func(yield func(eventlog.StreamInfo, error) bool) {
		after := after // moves on while paging
		paged(ctx, l, limit, func(most int) (rows []eventlog.StreamInfo, last bool) {
			looked := 0
			for name := range l.names.from(max(after, category)) { // a category's streams are not before its name
				if category != "" && !strings.HasPrefix(name, category) {
					break
				}
				if name <= after {
					continue
				}
				if looked++; looked > scan || len(rows) == most {
					return rows, false
				}
				if category == "" || eventlog.Category(name) == category {
					rows = append(rows, l.describe(name))
				}
				after = name
			}
			return rows, true
		})(yield)
	}
}

// Stream implements eventlog.StreamLister.
func (l *Log) Stream(ctx context.Context, name string) (eventlog.StreamInfo, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.describe(name), l.usable(ctx)
}

func (l *Log) describe(name string) eventlog.StreamInfo {
	s, ok := l.streams[name]
	if !ok {
		return eventlog.StreamInfo{Stream: name}
	}
	return eventlog.StreamInfo{Stream: name, Version: s.version(), Truncated: s.truncated, Closed: s.closed}
}

// CloseStream implements eventlog.StreamKeeper.
func (l *Log) CloseStream(ctx context.Context, name string, expect eventlog.Expected) error {
	if err := eventlog.CheckStream(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(ctx); err != nil {
		return err
	}
	s, ok := l.streams[name]
	if !ok {
		s = &stream{}
	}
	if !expect.Allows(s.version()) {
		return &eventlog.ConflictError{Stream: name, Expected: expect, Actual: s.version()}
	}
	s.closed = true
	l.streams[name] = s // one that does not exist is kept from ever existing
	return nil
}

// TruncateStream implements eventlog.StreamKeeper.
func (l *Log) TruncateStream(ctx context.Context, name string, upTo eventlog.Version) error {
	if err := eventlog.CheckStream(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(ctx); err != nil {
		return err
	}
	if s, ok := l.streams[name]; ok {
		s.truncated = max(s.truncated, min(upTo, s.version()))
	}
	return nil
}
