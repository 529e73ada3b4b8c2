package replication

import "sync"

// Answer is what one of several safekeepers says of a timeline.
type Answer struct {
	Status
	Err error // why there is no Status
}

// Ask asks n safekeepers at once. The answers are in their order.
func Ask(n int, one func(i int) (Status, error)) []Answer {
	answers := make([]Answer, n)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i].Status, answers[i].Err = one(i) })
	}
	wg.Wait()
	return answers
}
