// The event-stream clients that are written in Go, each with the few lines that its readme tells
// its users to write. See ../README.md for what is read and what is printed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	donovanhide "github.com/donovanhide/eventsource"
	launchdarkly "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

// How long a loop of one's own waits before it asks again.
const loopWait = 250 * time.Millisecond

// An event, as a client hands it over.
type event struct{ kind, id, data string }

type client func(url string, tell func(event)) error

var clients = map[string]client{
	"r3labs/sse": func(url string, tell func(event)) error {
		return r3labs.NewClient(url).SubscribeRaw(func(message *r3labs.Event) {
			tell(event{string(message.Event), string(message.ID), string(message.Data)})
		})
	},
	"go-sse": func(url string, tell func(event)) error {
		request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		connection := tmaxmax.DefaultClient.NewConnection(request)
		connection.SubscribeToAll(func(message tmaxmax.Event) {
			tell(event{message.Type, message.LastEventID, message.Data})
		})
		return connection.Connect()
	},
	"go-sse, read": again(func(response *http.Response, tell func(event)) error {
		for message, err := range tmaxmax.Read(response.Body, nil) {
			if err != nil {
				return err
			}
			tell(event{message.Type, message.LastEventID, message.Data})
		}
		return nil
	}),
	"launchdarkly/eventsource": func(url string, tell func(event)) error {
		stream, err := launchdarkly.Subscribe(url, "")
		if err != nil {
			return err
		}
		for {
			select {
			case message := <-stream.Events:
				tell(event{message.Event(), message.Id(), message.Data()})
			case <-stream.Errors:
			}
		}
	},
	"donovanhide/eventsource": func(url string, tell func(event)) error {
		stream, err := donovanhide.Subscribe(url, "")
		if err != nil {
			return err
		}
		for {
			select {
			case message := <-stream.Events:
				tell(event{message.Event(), message.Id(), message.Data()})
			case <-stream.Errors:
			}
		}
	},
	"net/http": again(func(response *http.Response, tell func(event)) error {
		lines := bufio.NewScanner(response.Body)
		var next event
		var data []string
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case lines.Text() == "" && data != nil:
				next.data = strings.Join(data, "\n")
				tell(next)
				fallthrough
			case lines.Text() == "":
				next.kind, data = "", nil
			case name == "data":
				data = append(data, value)
			case name == "event":
				next.kind = value
			case name == "id":
				next.id = value
			}
		}
		return lines.Err()
	}),
}

// What only parses, in the loop that one writes around it: ask again with the id of the last event
// that came whole.
func again(read func(*http.Response, func(event)) error) client {
	return func(url string, tell func(event)) error {
		last := ""
		for ; ; time.Sleep(loopWait) {
			request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
			if err != nil {
				return err
			}
			if last != "" {
				request.Header.Set("Last-Event-ID", last)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				continue
			}
			// However it ends, the stream was lost.
			_ = read(response, func(message event) {
				last = message.id
				tell(message)
			})
			response.Body.Close()
		}
	}
}

type line struct {
	Stream string  `json:"stream"`
	Type   string  `json:"type,omitempty"`
	ID     *string `json:"id"`
	Data   *string `json:"data,omitempty"`
	Error  string  `json:"error,omitempty"`
}

var printing sync.Mutex

func print(what line) {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func read(stream string, open client, url string) {
	err := open(url, func(message event) {
		if message.kind == "" {
			message.kind = "message"
		}
		print(line{Stream: stream, Type: message.kind, ID: &message.id, Data: &message.data})
	})
	print(line{Stream: stream, Error: fmt.Sprintf("it has ended: %v", err)})
}

func main() {
	wanted := json.NewDecoder(os.Stdin)
	for {
		var next struct{ Stream, Client, URL string }
		if wanted.Decode(&next) != nil {
			return
		}
		open, known := clients[next.Client]
		if !known {
			print(line{Stream: next.Stream, Error: "there is no client " + next.Client + " here"})
			continue
		}
		go read(next.Stream, open, next.URL)
	}
}
