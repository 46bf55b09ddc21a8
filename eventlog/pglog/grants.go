package pglog

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Purpose is what a role is to do with logs.
type Purpose string

// Purposes of roles.
const (
	ForReading   Purpose = "read"   // reads all logs, and numbers what was committed, without which there would be nothing new to read
	ForAppending Purpose = "append" // appends to logs that are there, and reads nothing but their heads
	ForRunning   Purpose = "run"    // runs an application: both, makes the logs of modules, closes and truncates streams
)

// Purposes returns all purposes.
func Purposes() []Purpose { return []Purpose{ForReading, ForAppending, ForRunning} }

// Grants returns the statements that give a role what it needs for a purpose, for the role that owns the schema. Whoever
// appends does so by functions that run as their owner, and can't change or remove an event.
func Grants(schema, role string, purpose Purpose) ([]string, error) {
	if _, err := Migrations(schema); err != nil {
		return nil, err
	}
	if role == "" || strings.ContainsRune(role, 0) {
		return nil, fmt.Errorf("pglog: %q is no name of a role", role)
	}
	const (
		read  = "SELECT ON ${schema}.modules, ${schema}.streams, ${schema}.events, ${schema}.log, ${schema}.passes, ${schema}.parked, ${schema}.links, ${schema}.tags, ${schema}.entries, ${schema}.journal, ${schema}.insertions, ${schema}.revisions"
		pass  = "EXECUTE ON FUNCTION ${schema}.pass"
		write = "EXECUTE ON FUNCTION ${schema}.append, ${schema}.repeat, ${schema}.link_places, ${schema}.pass"
	)
	rights := []string{"USAGE ON SCHEMA ${schema}", "SELECT ON ${schema}.migrations"}
	switch purpose {
	case ForReading:
		rights = append(rights, read, pass)
	case ForAppending:
		rights = append(rights, "SELECT ON ${schema}.modules", "SELECT (module, position) ON ${schema}.log", write)
	case ForRunning:
		rights = append(rights, read, write, "INSERT ON ${schema}.modules", "INSERT, UPDATE ON ${schema}.streams")
	default:
		return nil, fmt.Errorf("pglog: nothing is granted for %q; the purposes are %q", purpose, Purposes())
	}
	statements := make([]string, len(rights))
	for i, right := range rights {
		statements[i] = inSchema(schemaOr(schema), "GRANT "+right+" TO ") + pgx.Identifier{role}.Sanitize()
	}
	return statements, nil
}
