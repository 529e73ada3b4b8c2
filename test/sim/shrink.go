package sim

import (
	"encoding/json"
	"errors"
)

// Shrink looks for a smaller schedule that fails like c: without the kinds of
// fault that it does not need, with fewer nodes and bytes, and in as few steps as
// any of the next seeds needs. It returns the smallest that it met in so many
// runs, and how that fails; c must fail.
func Shrink(c Config, runs int) (Config, error) {
	best, failure := c, error(nil)
	try := func(next Config) bool {
		runs--
		_, err := Run(next)
		if err == nil {
			return false
		}
		var v *Violation
		if errors.As(err, &v) && v.Step <= next.Steps {
			next.Steps = v.Step // what comes behind is not needed
		}
		best, failure = next, err
		return true
	}
	if !try(c) {
		return c, nil
	}
	for _, simpler := range simplifications {
		next := best
		if simpler(&next); next != best {
			try(next)
		}
	}
	for seed := uint64(1); runs > 0 && best.Steps > 1; seed++ {
		next := best
		next.Seed = seed
		next.Steps = best.Steps - 1
		try(next)
	}
	return best, failure
}

// simplifications take one kind of fault or size away each.
var simplifications = []func(*Config){
	func(c *Config) { c.Nodes = 3 },
	func(c *Config) { c.Wipe = false },
	func(c *Config) { c.Spares = 0 },
	func(c *Config) { c.Spares = min(c.Spares, 1) },
	func(c *Config) { c.Switches = false },
	func(c *Config) { c.Disorder = 0 },
	func(c *Config) { c.Crash = 0 },
	func(c *Config) { c.Disk = 0 },
	func(c *Config) { c.Scenes = 0 },
	func(c *Config) { c.Strife = 1 },
	func(c *Config) { c.Strife = 2 },
	func(c *Config) { c.MaxWAL = 4 << 10 },
	func(c *Config) { c.Queue = 1 << 20 },
	func(c *Config) { c.Store = false },
}

// Text is the configuration as the flag -config takes it.
func (c Config) Text() string {
	b, err := json.Marshal(c)
	if err != nil {
		return err.Error() // It has numbers and booleans only.
	}
	return string(b)
}
