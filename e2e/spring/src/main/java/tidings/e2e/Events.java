package tidings.e2e;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.MediaType;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.servlet.mvc.method.annotation.SseEmitter;

/** Events by number: what there was before a restart is there after it. */
@SpringBootApplication
@RestController
public class Events {
  private static final long LOOK_AGAIN_MS = 5;
  /** Tomcat notices that a client has gone when it writes. */
  private static final int LOOKS_PER_HEARTBEAT = 20;

  private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
  private final AtomicInteger count;
  private final AtomicInteger working = new AtomicInteger();
  private final List<String> asked = Collections.synchronizedList(new ArrayList<>());

  public record Count(int number, String text) {}

  public record Feed(int count, int working, List<String> asked) {}

  public record Question(List<String> words, boolean whole) {}

  public Events(@Value("${count:0}") int count) {
    this.count = new AtomicInteger(count);
  }

  public static void main(String[] arguments) {
    SpringApplication.run(Events.class, arguments);
  }

  /** What the test wants to know. */
  @GetMapping("/feed")
  public Feed feed() {
    return new Feed(count.get(), working.get(), List.copyOf(asked));
  }

  /** As many events more. */
  @PostMapping("/feed")
  public Feed grow(@RequestParam int by) {
    count.addAndGet(by);
    return feed();
  }

  @GetMapping("/events")
  public SseEmitter events(@RequestHeader(name = "Last-Event-ID", defaultValue = "") String lastEventId)
      throws IOException {
    asked.add(lastEventId);
    var emitter = new SseEmitter(0L);
    var stream = new Stream(emitter, lastEventId.isEmpty() ? 1 : Integer.parseInt(lastEventId) + 1);
    emitter.onCompletion(stream::stop);
    emitter.onError(error -> stream.stop());
    emitter.send(SseEmitter.event().reconnectTime(100));
    stream.start();
    return emitter;
  }

  @PostMapping(path = "/answer", produces = MediaType.TEXT_EVENT_STREAM_VALUE)
  public SseEmitter answer(@RequestBody Question question) {
    var emitter = new SseEmitter(0L);
    timer.execute(() -> {
      try {
        for (String word : question.words()) emitter.send(word);
        if (question.whole()) emitter.send("[DONE]");
        emitter.complete();
      } catch (IOException gone) {
        emitter.completeWithError(gone);
      }
    });
    return emitter;
  }

  /** The work for one client. */
  private final class Stream {
    private final SseEmitter emitter;
    private int next;
    private int looks;
    private boolean stopped;
    private ScheduledFuture<?> work;

    Stream(SseEmitter emitter, int next) {
      this.emitter = emitter;
      this.next = next;
    }

    synchronized void start() {
      working.incrementAndGet();
      work = timer.scheduleWithFixedDelay(this::look, 0, LOOK_AGAIN_MS, TimeUnit.MILLISECONDS);
    }

    synchronized void stop() {
      if (stopped) return;
      stopped = true;
      work.cancel(false);
      working.decrementAndGet();
    }

    private void look() {
      try {
        for (; next <= count.get(); next++) {
          var event = SseEmitter.event().id(Integer.toString(next)).name("count");
          // As an object, and as a text with a line break.
          emitter.send(next % 2 == 0
              ? event.data(new Count(next, "☂"))
              : event.data("{\"number\":" + next + ",\n\"text\":\"☂\"}"));
        }
        if (++looks % LOOKS_PER_HEARTBEAT == 0) emitter.send(SseEmitter.event().comment("beat"));
      } catch (IOException | IllegalStateException gone) {
        stop();
      }
    }
  }
}
