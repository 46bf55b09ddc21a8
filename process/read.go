package process

import (
	"context"
	"fmt"
)

// Instance reads an instance, with its state, as it is kept now. ErrNoInstance where there is none.
func (e *Engine) Instance(ctx context.Context, key string) (*Instance, error) {
	loaded, err := e.cfg.Store.Load(ctx, e.home, []string{key})
	if err != nil {
		return nil, err
	}
	if loaded[0] == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoInstance, e.home.Stream(key))
	}
	return loaded[0], nil
}
