package processtest

import "github.com/ensue-io/ensue/process"

// Look is Explore without failing the test.
func Look(t T, def process.Definition, samples ...any) Report {
	return newInquiry(def, samples).report(t)
}
