package process_test

import (
	"strings"

	"github.com/ensue-io/ensue/process"
)

// Catering.
type (
	customerAgreed struct {
		ID string `json:"id"`
	}
	catererAgreed struct {
		ID string `json:"id"`
	}
	guestInvited struct {
		ID string `json:"id"`
	}
	guestLeft struct {
		ID string `json:"id"`
	}
	menuChanged struct {
		ID     string   `json:"id"` // of the menu
		Guests []string `json:"guests"`
		Size   int      `json:"size,omitempty"` // of what the process says about it to the guest named big, in bytes
	}
)

type matchState struct {
	Customer bool `json:"customer"`
	Caterer  bool `json:"caterer"`
}

// cateringMatch confirms an order once customer and caterer both agreed to its menu, in either order.
func cateringMatch(*story) process.Definition {
	return process.Define("catering-match",
		process.On[matchState, customerAgreed]{
			Starts: true,
			Locate: process.Key(func(e customerAgreed) string { return e.ID }),
			Evolve: func(m matchState, _ process.Input[customerAgreed]) matchState { m.Customer = true; return m },
		},
		process.On[matchState, catererAgreed]{
			Starts: true,
			Locate: process.Key(func(e catererAgreed) string { return e.ID }),
			Evolve: func(m matchState, _ process.Input[catererAgreed]) matchState { m.Caterer = true; return m },
		},
		process.React(func(m matchState, do *process.Step) {
			if m.Customer && m.Caterer {
				do.Send(confirmSale{do.Instance()})
				do.Complete()
			}
		}),
	).Otherwise(process.Ignore)
}

type guestState struct {
	Menus []string `json:"menus"`
}

// menuWatch tells each guest of each change of a menu that concerns several of them.
func menuWatch(s *story) process.Definition {
	return process.Define("menu-watch",
		process.On[guestState, guestInvited]{
			Starts: true,
			Locate: process.Key(func(e guestInvited) string { return e.ID }),
		},
		process.On[guestState, menuChanged]{
			NoInstance: process.Ignore,
			Locate:     process.Keys(func(e menuChanged) []string { return e.Guests }),
			Evolve: func(g guestState, in process.Input[menuChanged]) guestState {
				g.Menus = append(g.Menus, in.Event.ID)
				return g
			},
			React: func(_ guestState, in process.Input[menuChanged], do *process.Step) {
				s.trouble(do.Instance(), "menu-changed")
				if do.Instance() == "big" && in.Event.Size > 0 {
					do.Emit(saleRemark{do.Instance(), strings.Repeat("x", in.Event.Size)})
				}
				do.Send(sendMail{do.Instance(), "menu " + in.Event.ID})
			},
		},
		process.On[guestState, guestLeft]{
			NoInstance: process.Ignore,
			Locate:     process.Key(func(e guestLeft) string { return e.ID }),
			React:      func(_ guestState, _ process.Input[guestLeft], do *process.Step) { do.Complete() },
		},
	).Otherwise(process.Ignore)
}
