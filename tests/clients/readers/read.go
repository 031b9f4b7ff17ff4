// Go's readers of event-streams: `read NAME` reads each URL of standard input and prints what was given, as JSON. A list
// has the events in their order, each as the library gives it; a text says how reading failed.
//
// Of Debian's packages golang-github-donovanhide-eventsource-dev and golang-github-gin-contrib-sse-dev:
// GO111MODULE=off GOPATH=/usr/share/gocode go run read.go NAME
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/donovanhide/eventsource"
	"github.com/gin-contrib/sse"
)

// It would connect again after the end, which it tells as an error.
func donovanhide(url string) (given []any, err error) {
	stream, err := eventsource.Subscribe(url, "")
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	for {
		select {
		case event := <-stream.Events:
			given = append(given, []string{event.Event(), event.Data(), event.Id()})
		case err := <-stream.Errors:
			if err.Error() != "EOF" {
				return nil, err
			}
			return given, nil
		}
	}
}

func gin(url string) (given []any, err error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	events, err := sse.Decode(response.Body)
	for _, event := range events {
		given = append(given, []any{event.Event, event.Data, event.Id})
	}
	return given, err
}

func main() {
	read := map[string]func(string) ([]any, error){"donovanhide": donovanhide, "gin": gin}[os.Args[1]]
	urls := bufio.NewScanner(os.Stdin)
	for urls.Scan() {
		given, err := read(urls.Text())
		var told any = given
		if err != nil {
			told = err.Error()
		}
		line, _ := json.Marshal(told)
		fmt.Println(string(line))
	}
}
