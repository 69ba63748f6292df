// Names ten handwritten digits at every level, with the C++ owner of an instance.
#include "digits.hpp"
#include "images.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

int main()
{
    condensec::digits net;
    for (std::uint32_t level = 0; level < condensec::digits::levels; ++level) {
        net.set_level(level);
        std::printf("%s:", net.model().levels[level].name);
        for (const auto &pixels : image_pixels) {
            float image[IMAGE_PIXELS], logits[10];
            std::transform(std::begin(pixels), std::end(pixels), image, [](int pixel) { return (pixel - 10) / 10.0f; });
            if (!net.infer(image, logits)) {
                return 1;
            }
            std::printf(" %d", static_cast<int>(std::max_element(logits, logits + 10) - logits));
        }
        std::printf("\n");
    }
}
