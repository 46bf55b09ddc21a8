package process

import (
	"reflect"
	"slices"
	"strings"
)

// What is recorded under a name that was changed since is compared under the present one.

// learn takes note of the names that a candidate's command had before.
func (b *backtest) learn(cmd any, name string) {
	if f, ok := b.e.cfg.Commands.(FormerNames); ok {
		for _, former := range f.FormerNames(reflect.TypeOf(cmd)) {
			b.renamed[former] = name
		}
	}
}

// command returns the present name of a command that the candidate sends as well.
func (b *backtest) command(name string) string {
	if today, ok := b.renamed[name]; ok {
		return today
	}
	return name
}

// timeout returns the present name of a timeout, with its key if it has one.
func (b *backtest) timeout(name string) string {
	for end := len(name); end > 0; end = strings.LastIndexByte(name[:end], ':') {
		if in := b.router.timeouts[name[:end]]; in != nil {
			return in.name + name[end:]
		}
	}
	return name
}

// event returns the present name of a type that the process emits.
func (b *backtest) event(name string) string {
	if today, ok := b.e.router.types[b.e.cfg.Home].PresentName(name); ok {
		return today
	}
	return name
}

// today returns what was decided under the names of today.
func (b *backtest) today(was *decided) *decided {
	now := *was
	now.sent, now.set, now.cancelled = slices.Clone(was.sent), slices.Clone(was.set), slices.Clone(was.cancelled)
	now.emitted = slices.Clone(was.emitted)
	for n := range now.sent {
		s := &now.sent[n]
		s.Type = b.command(s.Type)
		if s.Undo != nil {
			s.Undo = &Undoing{Type: b.command(s.Undo.Type), Data: s.Undo.Data}
		}
	}
	for n := range now.set {
		now.set[n].Name = b.timeout(now.set[n].Name)
	}
	for n := range now.cancelled {
		now.cancelled[n] = b.timeout(now.cancelled[n])
	}
	for n := range now.emitted {
		now.emitted[n].Type = b.event(now.emitted[n].Type)
	}
	return &now
}

func (w trialWorld) command(module string, cmd any) (target, name string, data []byte, err error) {
	target, name, data, err = w.Engine.command(module, cmd)
	w.trial.learn(cmd, name)
	return target, name, data, err
}

func (w trialWorld) undo(module string, cmd any) (target, name string, data []byte, err error) {
	target, name, data, err = w.Engine.undo(module, cmd)
	w.trial.learn(cmd, name)
	return target, name, data, err
}
