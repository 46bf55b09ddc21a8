package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
)

// What the keys of holds begin with that are of an event, and of no instance. No instance can have such a key.
const (
	undecodable = event.SystemPrefix + "undecodable/" // nobody knows whom it concerns
	unclaimed   = event.SystemPrefix + "unclaimed/"   // nobody has claimed the key that it names
)

// isAside tells whether a hold is of an event by itself.
func isAside(key string) bool {
	return strings.HasPrefix(key, undecodable) || strings.HasPrefix(key, unclaimed)
}

// skippedEvent returns the event that nobody takes, of a hold of one that could not be decoded. One that names a claimed key
// may concern others as well.
func skippedEvent(key string) event.ID {
	if !strings.HasPrefix(key, undecodable) {
		return event.ID{}
	}
	id, err := event.ParseID(key[strings.LastIndexByte(key, '/')+1:])
	if err != nil {
		return event.ID{}
	}
	return id
}

// actUndecodable does what an operator asked for with an event that is held by itself.
func (t *term) actUndecodable(ctx context.Context, h *Holding, r *request) error {
	if h == nil || h.Condition == Skipped {
		return t.refusal(r, ErrNotHeld, nil)
	}
	switch r.Action {
	case ActResume:
		t.release(h)
		return nil
	case ActSkip, ActReplace:
	default:
		return t.refusal(r, ErrImpossible, errors.New("it is an event that is held by itself, and no instance; skip it, replace it, or resume it when it can be given to somebody"))
	}
	item, err := t.inQueue(ctx, h)
	if err != nil {
		return err
	}
	if item == nil {
		return t.refusal(r, ErrStale, nil)
	}
	if r.Action == ActReplace {
		in := item.taken
		if err := t.correct(nil, &in, r); err != nil {
			return t.refusal(r, ErrBadInput, err)
		}
		if err := t.requeue(h, item.number, &in); err != nil {
			return err
		}
		t.release(h)
		return nil
	}
	t.unqueue(h, item)
	t.ignoreWaiting(ruleOf("skipped: "+r.Reason), t.mine.partition(h.Instance))
	t.renew(h)
	t.pass(h, &item.taken, r.Reason, r.By)
	return nil
}

// pass keeps a hold of an event as a note that the event as it stands in its log is never to be taken.
func (t *term) pass(h *Holding, in *Taken, reason, by string) {
	h.calm()
	h.Condition, h.RetryAt, h.Reason, h.By = Skipped, time.Time{}, reason, by
	t.skipped[skippedEvent(h.Instance)] = true
	t.batch.hold(h)
	t.retrying(h)
}

// retryUndecodable finds the instances of an event that could not be decoded. Their owners, who may be other workers, give
// it to them.
func (t *term) retryUndecodable(ctx context.Context, h *Holding) error {
	process := t.timers.process
	items, err := readQueue(ctx, t.home.Log, process, h.Instance, 0, 1)
	if err != nil {
		return err
	}
	for n := range items {
		in := &items[n].taken
		handlings, keys, err := t.concerned(h, in)
		if err != nil {
			return t.failAgain(h, in, itsStep(process, h.Instance, in, err))
		}
		if len(keys) == 0 {
			rule := "no key: " + in.Type
			if len(handlings) == 0 {
				rule = "not handled: " + in.Type
			}
			t.ignoreWaiting(rule, t.mine.partition(h.Instance))
		}
		for _, key := range keys {
			r := request{id: event.NewID(), Action: actGive, Instance: key, At: event.Micro(t.cfg.Now()), Input: in}
			w, err := r.put(process)
			if err != nil {
				return err
			}
			t.batch.put(w)
		}
		t.batch.inputs++
		t.unqueue(h, &items[n])
		t.ask = true
		if in.Replaced != nil {
			t.pass(h, in, in.Replaced.Reason, in.Replaced.By)
			return nil
		}
	}
	delete(t.holds, h.Instance)
	delete(t.retries, h.Instance)
	t.batch.release(h)
	return nil
}

// concerned returns the instances that an event concerns which was held by itself. One that names a key that nobody has
// claimed is held on.
func (t *term) concerned(h *Holding, in *Taken) (handlings []handling, keys []string, err error) {
	if handlings, err = t.router.decodeAll(in); err != nil {
		return nil, nil, err
	}
	if !strings.HasPrefix(h.Instance, unclaimed) {
		if keys, err = t.router.locate(in, handlings); err != nil {
			return nil, nil, err
		}
	}
	claims, err := t.router.claims(in, handlings)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range claims {
		if strings.HasPrefix(h.Instance, unclaimed) && !strings.HasPrefix(h.Instance, unclaimed+k.Name+"/") {
			continue
		}
		by, err := t.holder(k)
		switch {
		case err != nil:
			return nil, nil, err
		case by == "":
			return nil, nil, t.stepError(h.Instance, in, &UnexpectedError{Why: fmt.Sprintf("no instance has claimed %v; resume it when one has, or skip it", k)})
		case !slices.Contains(keys, by):
			keys = append(keys, by)
		}
	}
	return handlings, keys, nil
}

// ripe tells whether a request can be carried out. An event is given late when its turn has passed for the instance's owner
// as well: what comes before it in its log would be taken for decided else (G8).
func (t *term) ripe(r request) bool {
	if r.Action != actGive {
		return true
	}
	k := slices.IndexFunc(t.sources, func(s *source) bool { return s.module.Name == r.Input.Module && s.module.Log.ID() == r.Input.Log })
	return k < 0 || t.sources[k].given(t.mine.partition(r.Instance), r.Input.Position)
}

// giveLate gives an instance an event whose turn has passed. That its log's mark stands above it says nothing: it is known
// by its id.
func (t *term) giveLate(ctx context.Context, r *request) error {
	in := *r.Input
	in.late = true
	if h := t.holds[r.Instance]; h != nil && h.Condition != Waiting {
		return t.enqueue(h, &in)
	}
	inst, err := t.instance(ctx, r.Instance)
	if err != nil {
		return t.failOrStop(r.Instance, nil, &in, err)
	}
	if slices.Contains(inst.Taken, in.ID) {
		t.batch.stats.Duplicates++
		return nil
	}
	handlings, err := t.router.decodeAll(&in)
	if err == nil {
		handlings, err = t.router.concerning(inst, &in, handlings)
	}
	if err != nil {
		return t.failOrStop(r.Instance, inst, &in, itsStep(t.timers.process, r.Instance, &in, err))
	}
	return t.hand(inst, &in, handlings)
}
