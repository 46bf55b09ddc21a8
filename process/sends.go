package process

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Sends declares every command that the process sends, by a value of each (its content does not matter), those of OnUndo
// included: process.Sends[Order](Reserve{}, Release{}). With it, a command that no module handles is an error of Open,
// and not first of the step that sends it; a step that sends another command fails. Without it, any command may be sent.
func Sends[S any](commands ...any) Part[S] { return sends[S]{commands} }

type sends[S any] struct{ commands []any }

func (s sends[S]) define(d *Definition, _ *S) {
	if d.sends == nil {
		d.sends = []reflect.Type{}
	}
	for _, cmd := range s.commands {
		t := reflect.TypeOf(cmd)
		switch {
		case t == nil || t.Kind() == reflect.Pointer:
			d.mistake("Sends lists %T; commands are values", cmd)
		case slices.Contains(d.sends, t):
			d.mistake("Sends lists %v twice", t)
		default:
			d.sends = append(d.sends, t)
		}
	}
}

// Sends returns the types of the commands that the process declares; nil where it declares none.
func (d Definition) Sends() []reflect.Type { return slices.Clone(d.sends) }

// maySend tells what is wrong with sending a command, or keeping it as an undo, by what is declared.
func (d *Definition) maySend(cmd any) error {
	if cmd == nil || d.sends == nil || slices.Contains(d.sends, reflect.TypeOf(cmd)) {
		return nil
	}
	return fmt.Errorf("process.Sends declares what the process sends, and not %T; add it there", cmd)
}

// checkSends tells which of the declared commands nobody handles. Several modules may: SendTo names one of them.
func (d *Definition) checkSends(modules []Module, receivers Commands) error {
	var errs []error
	for _, t := range d.sends {
		_, _, err := receivers.Resolve("", t)
		if err != nil && !slices.ContainsFunc(modules, func(m Module) bool { _, _, err := receivers.Resolve(m.Name, t); return err == nil }) {
			errs = append(errs, fmt.Errorf("process %q: declared by Sends: %w", d.name, err))
		}
	}
	return errors.Join(errs...)
}
