package sqlitelog

import (
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// typeNames knows event types by the numbers that stand for them in the file. A number never changes, so what was read
// once is right for ever, and only a number or a name that is missing is looked for.
type typeNames struct{ read atomic.Pointer[typeTable] }

type typeTable struct {
	names   map[int64]string
	numbers map[string]int64
}

// name returns the name of a type.
func (t *typeNames) name(c *conn, number int64) (string, error) {
	if table := t.read.Load(); table != nil {
		if name, ok := table.names[number]; ok {
			return name, nil
		}
	}
	table, err := t.load(c)
	if err != nil {
		return "", err
	}
	name, ok := table.names[number]
	if !ok {
		return "", fmt.Errorf("sqlitelog: an event has type number %d, which has no name; run a check of the log", number)
	}
	return name, nil
}

// list returns the numbers of those of the names that the file has, as a list in SQL.
func (t *typeNames) list(c *conn, names []string) (string, error) {
	table := t.read.Load()
	for _, name := range names {
		if table == nil || table.numbers[name] == 0 {
			var err error
			if table, err = t.load(c); err != nil {
				return "", err
			}
			break
		}
	}
	var numbers []string
	for _, name := range names {
		if n := table.numbers[name]; n != 0 {
			numbers = append(numbers, strconv.FormatInt(n, 10))
		}
	}
	return strings.Join(numbers, ", "), nil
}

func (t *typeNames) load(c *conn) (*typeTable, error) {
	table := &typeTable{names: map[int64]string{}, numbers: map[string]int64{}}
	err := c.query(`SELECT type, name FROM types`, func(row []driver.Value) error {
		number, name := row[0].(int64), row[1].(string)
		table.names[number], table.numbers[name] = name, number
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.read.Store(table)
	return table, nil
}
